"""The version of Plainstack: a release is for the version that made it, whose units may differ from another's."""

VERSION = "0.1.0"
