/* fuzz_rationale.c - any text as what a judge wrote, and as a format: a rationale lies in the text it was found in, and
 * a format that is taken has all its parts. The first byte chooses. */
#include <stdlib.h>
#include <string.h>
#include "rationale/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const gr_format *f, gr_str text)
{
    const char *const label[] = { "A", "B" };
    int verdict, named = gr_conclusion(label, text);
    gr_str body = gr_format_parse(f, label, text, &verdict);

    if (body.p < text.p || body.p + body.n > text.p + text.n || verdict < -1 || verdict > 1 || named < -1 || named > 1)
        abort();
    if (named >= 0 && !gr_names_answer(label, text, 0) && !gr_names_answer(label, text, 1))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const name[] = { "gram-r2", "rm-r1", "think-rm" };
    char *copy = malloc(size + 1);
    gr_format f;

    if (!copy || size < 1) {
        free(copy);
        return 0;
    }
    memcpy(copy, data, size);
    copy[size] = '\0';
    if (data[0] == '{') {
        if (!gr_format_init(&f, copy, NULL)) {
            if (!f.opening || !f.closing || !f.cue || !f.ending || !f.prompt || !gr_format_tag(f.closing).n)
                abort();
            check_text(&f, (gr_str){ copy, size });
            gr_format_clear(&f);
        }
    } else {
        if (gr_format_init(&f, name[data[0] % 3], NULL))
            abort();
        check_text(&f, (gr_str){ copy + 1, size - 1 });
        gr_format_clear(&f);
    }
    free(copy);
    return 0;
}
