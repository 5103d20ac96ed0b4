"""Imaging: from untrusted bytes to checked pictures, and archives of them."""
