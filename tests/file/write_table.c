/* write_table.c - for tests: write_table ROWS.jsonl TABLE makes a table of rows, in the form that its name asks for. */
#include <stdio.h>
#include "base/err.h"
#include "file/table.h"

int main(int argc, char **argv)
{
    gram_err err;

    if (argc != 3)
        return 2;
    if (!gr_table_write(argv[1], argv[2], argv[2], gr_table_kind_of(argv[2]), &err))
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}
