"""What Lambda and AWS give: clients, the topic, metrics, and the frame of an invocation."""
