"""What a file really holds, beside what its header claims: the ``probe`` command."""
