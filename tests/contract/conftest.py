from tests.contract.sdk_office import office, served  # noqa: F401 - fixtures for every suite of the SDK
