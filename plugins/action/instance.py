"""`instance` is a step of a run."""

from ansible_collections.plainstack.web.plugins.action.step import ActionModule

__all__ = ["ActionModule"]
