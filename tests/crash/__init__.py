"""The program under fire: stopped at every point where a power cut could stop it, and left without a clear answer."""
