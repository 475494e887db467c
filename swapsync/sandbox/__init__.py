"""Local look-alikes of Swap and SparkLayer, over real HTTP, with data and switchable faults."""
