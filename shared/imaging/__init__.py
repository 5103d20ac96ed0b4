"""Imaging turns untrusted bytes into checked pictures, and reads archives of pictures."""
