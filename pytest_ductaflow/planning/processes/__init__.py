"""The processes in which conductors are executed while they are collected."""
