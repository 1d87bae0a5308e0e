"""Charts as inline SVG, for every service that writes a page: no script, no package."""
