"""Whole communities that speak bytes on real wires, with faults and with truth."""
