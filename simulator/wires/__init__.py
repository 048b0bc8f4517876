"""The real wires that virtual devices speak on."""
