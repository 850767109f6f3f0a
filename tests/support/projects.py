"""Ids of projects, and the path of their lists, in tests."""

PROJECT = "1" * 32
OTHER_PROJECT = "2" * 32
THIRD_PROJECT = "3" * 32
SAMPLE_PROJECT = "openstack"  # the project in the URLs of the API's documentation

LIST_URL = f"/v2/{SAMPLE_PROJECT}/images/detail"
