"""How tenants are compared."""


def comparable(tenant: str) -> str:
    """Give a tenant's id in the one form in which ids are kept and compared: lower case, no dashes."""
    return tenant.lower().replace("-", "")
