"""What connector authors build on: pieces that every connector would otherwise write again."""
