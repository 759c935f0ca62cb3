"""What a run looks like: pictures while it trains, a page when it is done, and charts of several runs."""
