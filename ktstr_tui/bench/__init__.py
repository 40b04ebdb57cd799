"""Benchmarks: each figure beside a baseline that the same run measured."""
