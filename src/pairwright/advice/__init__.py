"""Rich feedback: how critics and instructors are asked, and how their words are read.

On the ground, since critics and instructors behind a server and in this process share it.
"""
