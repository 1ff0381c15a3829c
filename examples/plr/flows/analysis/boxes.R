# %% [markdown]
# # The same by another program: AUROC by classifier, in R
#
# Plain R, no packages: it reads the table that `numbers` has left, draws it, and leaves the plotted data beside
# the figure as all figures do.

# %% tags=["parameters"]
table <- ""

# %%
runs <- read.csv(file.path(project_root, table))
drawn <- boxplot(auroc ~ classifier, runs, plot = FALSE)

# %%
png("boxes.png", width = 840, height = 540, res = 120)
boxplot(auroc ~ classifier, runs, las = 1, xlab = "", ylab = "AUROC")
invisible(dev.off())

# %%
quartiles <- apply(drawn$stats, 2, function(five) sprintf("[%s]", paste(five, collapse = ", ")))
writeLines(sprintf("{%s}", paste(sprintf('"%s": %s', drawn$names, quartiles), collapse = ", ")), "boxes.json")
cat(ncol(drawn$stats), "classifiers\n")
