"""The `safelight` command, the only wing that parses arguments or prints."""
