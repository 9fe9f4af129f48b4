"""Planted identifiers and harmless look-alikes, composed anew from names, formats and places."""
