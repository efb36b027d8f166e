"""Pages that show results and datasets: self-contained HTML, with the same figures as JSON.

results_page     a results file, alone or beside another (tools/analyze.py report)
dataset_page     the findings about a dataset (tools/check_dataset.py --html)
samples_page     training samples as models get them (tools/browse_dataset.py)
page             writes a page of a template
results_figures  the figures of a results page
charts           charts as SVG
thumbnails       cut-outs of images
"""
