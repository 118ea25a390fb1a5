"""The command ``tcpclient``, alone and under ``twist``."""
