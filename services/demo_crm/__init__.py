"""The demo CRM: a small customer database of its own, as far from Countersign as any vendor's."""
