"""What several benchmarks share: mails, servers, hand-written loops."""
