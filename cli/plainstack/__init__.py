"""The command `plainstack`: what the playbooks of the collection do, in fewer words, and what a playbook cannot do."""
