#!/bin/sh
# Fails on a line of more than 120 columns, which it names. Tables of Markdown, and what programs wrote into
# tests/golden, are as they are. Run in the root of the repository.
found=$(LC_ALL=C.UTF-8 grep -rnE '^.{121}' --include='*.[ch]' --include='*.cu' --include='*.cuh' --include='*.inc' \
    --include='*.cc' --include='*.py' --include='*.sh' --include='*.js' --include='*.css' --include='*.html' \
    --include='*.yaml' --include='*.md' --include=Makefile --include='*.mk' --include=run .ci Makefile ./*.md bench \
    data docs examples include mk packaging python recipes scripts src tests web |
    grep -vE '^(tests/golden/|[^:]*\.md:[0-9]*: *\|)' | cut -c1-120)
[ -z "$found" ] && echo "columns: no line is longer than 120" && exit
echo "$found"
exit 1
