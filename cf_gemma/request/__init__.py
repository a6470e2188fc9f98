"""What is asked: parameters, the published schema, messages, images, and the HTTP request that they make.

Pure: nothing here does I/O; what can't be sent is refused here.
"""
