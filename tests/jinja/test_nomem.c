/* test_nomem.c - a template compiled and rendered with its n-th allocation failing, for every n: it says so, and gives
 * back all that it took. */
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "check.h"
#include "nomem.h"
#include "jinja/jinja.h"

static const char text[] =
    "{% macro m(x) %}{{ x | upper }}{% endmacro %}{% for m_ in messages %}{{ m(m_.content) }}{{ m_ | tojson }}"
    "{% generation %}{{ m_.content * 3000 }}{% endgeneration %}{% endfor %}";

static gram_status once(const json_t *given, gram_err *err)
{
    const gr_jinja_vars vars = { .given = given };
    gr_jinja_text out = { 0 };
    gr_jinja *t;
    gram_status rc = gr_jinja_compile(&t, "t", text, sizeof text - 1, err);

    if (!rc)
        rc = gr_jinja_render(t, &vars, &out, err);
    gr_jinja_text_clear(&out);
    gr_jinja_close(t);
    return rc;
}

static void every_allocation(void **state)
{
    json_t *given = json_loads("{\"messages\":[{\"content\":\"ab\"},{\"content\":\"c\"}]}", 0, NULL);
    long n = 0, before = nomem_live;
    gram_status rc;
    (void)state;

    do {
        gram_err err = { 0 };
        nomem_left = n++;
        rc = once(given, &err);
        nomem_left = -1;
        assert_true(rc == GRAM_OK || rc == GRAM_ENOMEM);
        assert_true(!rc || strstr(err.text, "out of memory"));
        assert_int_equal(nomem_live, before);
    } while (rc);
    assert_true(!NOMEM_COUNTED || n > 5);
    json_decref(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
