"""What is good on this machine and in this folder, and what is to be mended; nothing is written."""
