"""Accuracy against latency: published accuracies joined with measured times, as a page and as a picture.

accuracies   what was published, with sources: the registry's rows and those of accuracies.csv, latencies.csv
timings      what networks take: of records of the lab, and of what authors publish
stored       records of the lab's stores that are whole registry models
front        who is on the Pareto front
words        fronts in sentences
page         all of it as one HTML file that needs nothing else (page_files)
picture      the same for paper; labels: finds room for the names of points; style: colours and shapes
"""
