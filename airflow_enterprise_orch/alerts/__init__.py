"""Telling people of what went wrong, is late, or waits for them: by mail, webhook or Slack."""
