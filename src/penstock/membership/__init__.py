"""Peers that know each other: who is a member, and who is alive. No server, no leader, nothing about video."""
