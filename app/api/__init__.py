"""The operations: one function for each operationId of the contract."""
