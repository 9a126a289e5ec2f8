"""A real headless Chromium for tests of pages."""
