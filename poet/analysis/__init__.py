"""Looks into a trained POET, as the paper's figures do; tools/analyze.py is the command line.

attention   where encoder and decoder look (Figure 5)
centers     predicted centers beside those of the ground truth (Figure 7)
visibility  predicted visibilities beside COCO's flags (Figure 8)
layers      AP after each decoder layer (Figure 9)
matched     a dataset's persons and the predictions that the matcher gives them
"""
