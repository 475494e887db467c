"""Swapsync: turns returns in Swap into credit notes, restocks and status on SparkLayer orders."""
