"""The state of a test double: a service that replaces a cloud in the tests of a tool."""
