"""Reading codes and writing new ones."""
