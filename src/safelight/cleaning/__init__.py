"""Pictures and arrays cleaned by a network: `cleaner` cleans images, `files` whatever holds them."""
