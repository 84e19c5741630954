/* fuzz_arrow.c - any bytes as an Arrow file: an error, or batches that were proved, which is what reads them. */
#include <fcntl.h>
#include "file/arrow.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = open(fuzz_file(data, size), O_RDONLY);
    gr_arrow_schema schema;
    gr_arrow_array rows;
    gr_arrow_stream *s;
    gram_err err;
    gr_arrow *a;

    if (fd < 0)
        abort();
    if (!gr_arrow_open(&a, "file", fd, &err)) {
        s = gr_arrow_rows(a);
        if (!s->get_schema(s, &schema))
            schema.release(&schema);
        while (!s->get_next(s, &rows) && rows.release)
            rows.release(&rows);
        gr_arrow_close(a);
    }
    close(fd);
    return 0;
}
