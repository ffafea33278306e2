"""Tests of the WebSocket transports."""
