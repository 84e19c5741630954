/* prompt.c - a judge prompt that stands in a file. */
#include <errno.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "gram/gram.h"

static gram_status read_text(gr_buf *text, const char *path, gram_err *err)
{
    FILE *f = fopen(path, "rbe");
    gram_status rc = f && gr_buf_read(text, f) ? GRAM_OK
                   : errno == ENOMEM ? gr_nomem(err, path) : gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));

    if (f)
        fclose(f);
    return rc;
}

gram_status gram_read_judge_prompt(char **out, const char *path, bool pointwise, gram_err *err)
{
    gr_buf text = { 0 };
    gram_err why = { 0 };
    gram_status rc = read_text(&text, path, err);

    gr_utf8_unmark(text.p, &text.n);
    if (!rc && (text.n == 0 || strlen(text.p) != text.n))
        rc = gr_fail(err, GRAM_EARG, "%s: a judge prompt is text, and this file is empty or holds a NUL byte", path);
    else if (!rc && (pointwise ? gram_check_pointwise_prompt : gram_check_judge_prompt)(text.p, &why))
        rc = gr_fail(err, why.status, "%s: %s", path, why.text);
    if (rc)
        gr_buf_clear(&text);
    *out = text.p;
    return rc;
}
