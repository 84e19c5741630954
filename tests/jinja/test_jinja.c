/* test_jinja.c - the interpreter against Python's (scripts/golden_jinja.py), its limits, and the origin of each
 * byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "check.h"
#include "jinja/jinja.h"

/* The text of a template, or NULL; *rc says why. */
static char *render(const char *template, size_t n, const json_t *given, gram_status *rc)
{
    const gr_jinja_vars vars = { .given = given, .now = 1795910400, .utc = true };
    gr_jinja_text text = { 0 };
    gr_jinja *t;

    *rc = gr_jinja_compile(&t, "t", template, n, &check_err);
    if (*rc)
        return NULL;
    *rc = gr_jinja_render(t, &vars, &text, &check_err);
    gr_jinja_close(t);
    free(text.run);
    free(text.generation);
    return text.text.p;
}

static void equals_python(void **state)
{
    json_t *g = json_load_file("tests/golden/jinja.json", 0, NULL), *row, *list = json_object_get(g, "templates");
    size_t i, refused = 0;
    (void)state;

    assert_true(json_array_size(list) > 400);
    json_array_foreach(list, i, row) {
        const json_t *t = json_object_get(row, "template"), *want = json_object_get(row, "text");
        gram_status rc;
        char *text = render(json_string_value(t), json_string_length(t), json_object_get(g, "data"), &rc);

        if (rc == GRAM_EUNSUPPORTED) {
            refused++;                          /* by name: never another text */
        } else if (json_is_null(want)) {
            if (text)
                fail_msg("%s\nPython raises, and here it is\n[%s]", json_string_value(t), text);
        } else if (!text || strcmp(text, json_string_value(want))) {
            fail_msg("%s\nwanted\n[%s]\nfound\n[%s]", json_string_value(t), json_string_value(want),
                     text ? text : check_err.text);
        }
        free(text);
    }
    assert_true(refused < json_array_size(list) / 50);
    json_decref(g);
}

/* What Python makes of numbers near the ends of 64 bits, or says of them. */
static void numbers_at_the_ends(void **state)
{
    static const struct { const char *t, *is; } c[] = {
        { "{{ 12345678901234567 | round(-1) }}", "12345678901234570" },
        { "{{ 25 | round(-1) }} {{ -25 | round(-1) }} {{ 35 | round(-1) }}", "20 -20 40" },
        { "{{ 9223372036854775804 | round(-1) }}", "9223372036854775800" },
        { "{{ 5000000000000000000 | round(-19) }} {{ 7 | round(-99) }}", "0 0" },
        { "{{ 7 | round(-9223372036854775807 - 1) }}", "0" },
        { "{{ 123.0 | round(-400) }} {{ -1.5 | round(-400) }}", "0.0 -0.0" },
        { "{{ 'abc' | truncate(9223372036854775807, leeway=9223372036854775807) }}", "abc" },
        { "{{ 'ab'.center(-9223372036854775807 - 1) }}", "ab" },
        { "{{ range(3)[::9223372036854775807] }}", "range(0, 3, 9223372036854775807)" },
        { "{{ range(3)[::-9223372036854775807 - 1] }}", "range(2, -1, -9223372036854775808)" },
        { "{{ range(0, 10, 3)[1::4294967296] }}", "range(3, 12, 12884901888)" },
        { "{{ [1, 2][::-9223372036854775807 - 1] }}{{ 'ab'[::9223372036854775807] }}", "[2]a" },
        { "{{ range(-9000000000000000000, 9223372036854775807, 6000000000000000000) | list }}",
          "[-9000000000000000000, -3000000000000000000, 3000000000000000000, 9000000000000000000]" },
        { "{{ range(-9000000000000000000, 9223372036854775807, 6000000000000000000)[3] }}", "9000000000000000000" },
        { "{{ range(9223372036854775800, 9223372036854775807)[1:3] }}",
          "range(9223372036854775801, 9223372036854775803)" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gram_status rc;
        char *text = render(c[i].t, strlen(c[i].t), NULL, &rc);
        if (!text || strcmp(text, c[i].is))
            fail_msg("%s: %s, wanted %s", c[i].t, text ? text : check_err.text, c[i].is);
        free(text);
    }
}

static void hostile_templates_end(void **state)
{
    static const struct { const char *t, *why; } c[] = {
        { "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps" },
        { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests more than" },
        { "{{ 'a' * 1000000000 }}", "more than" },
        { "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MiB" },
        { "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", "more than" },
        { "{% set n = namespace() %}{% set n.n = n %}{{ n }}", "nests more than" },
        { "{{ range(100001) }}", "Range too big" },
        { "{{ 9 ** 99 }}", "64 bits" },
        { "{{ 9223372036854775807 | round(-1) }}", "64 bits" },
        { "{{ 'abc' | truncate(-9223372036854775807 - 1) }}", "expected length" },
        { "{{ 99999999999999999999 }}", "64 bits" },
        { "{{ range(9223372036854775800, 9223372036854775807, 5)[1:] }}", "64 bits" },
        { "{{ range(0, 9223372036854775807, 9223372036854775806)[::2] }}", "64 bits" },
        { "{{ ('<' | safe) % 5 }}", "not all arguments converted" },
        { "{{ ('%%' | safe) % 'x' }}", "not all arguments converted" },
        { "{{ ('%x' | safe) % 255 }}", "%x format: an integer is required" },
        { "{{ ('%c' | safe) % 'x' }}", "%c requires int or char" },
        { "{{ '%99999999d' % 1 }}", "wider than" },
        { "{{ x | urlize }}", "line 1: the filter 'urlize', which gram does not know" },
        { "\n{% extends 'x' %}", "line 2: the statement 'extends', which gram does not know" },
        { "{{ lipsum() }}", "lipsum" },
        { "{{ 'a'.encode() }}", "str.encode, which gram does not know" },
        { "{{ \xff }}", "UTF-8" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gram_status rc;
        assert_null(render(c[i].t, strlen(c[i].t), NULL, &rc));
        assert_true(rc != GRAM_OK);
        if (!strstr(check_err.text, c[i].why))
            fail_msg("%s: %s", c[i].t, check_err.text);
    }
}

/* Deep texts must not take the stack: brackets, operators, attributes, filters, statements. */
static void deep_templates_are_refused(void **state)
{
    static const struct { const char *head, *each, *tail; } c[] = {
        { "{{ ", "(", "1 }}" }, { "{{ 1", "+1", " }}" }, { "{{ a", ".a", " }}" }, { "{{ a", "|upper", " }}" },
        { "{{ ", "not ", "1 }}" }, { "{{ ", "-", "1 }}" }, { "", "{% if 1 %}", "" }, { "{{ a", "[0]", " }}" },
        { "{{ a", " if a else a", " }}" }, { "{{ a", " and a", " }}" }, { "{{ [", "[", " }}" }, { "{{ a", "()", " }}" },
        { "{% if a %}", "{% elif a %}", "" }, { "{{ a", " is defined", " }}" }, { "{{ a", " ~ a", "}}" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gr_buf b = { 0 };
        gram_status rc;
        assert_true(gr_buf_puts(&b, c[i].head));
        for (size_t k = 0; k < 100000; k++)
            assert_true(gr_buf_puts(&b, c[i].each));
        assert_true(gr_buf_puts(&b, c[i].tail));
        free(render(b.p, b.n, NULL, &rc));
        gr_buf_clear(&b);
    }
}

static void each_byte_knows_its_origin(void **state)
{
    static const struct { const char *t, *origin; } c[] = {         /* x is "ab": g marks what was given */
        { "{{ x }}-", "gg." },
        { "{{ '<' ~ x ~ '>' }}", ".gg." },
        { "{{ x[1:] }}{{ x[::-1] }}{{ x | upper }}{{ x | trim }}", "ggggggg" },
        { "{{ (' ' + x + ' ').strip() }}", "gg" },
        { "{{ '-'.join([x, 'c']) }}", "gg.." },
        { "{{ 'xay'.replace('a', x) }}{{ x.replace('a', '-') }}", ".gg..g" },
        { "{{ [x] }}{{ {'k': x} | tojson }}", "..gg.." "......." "gg.." },
        { "{{ '%s!' % x }}{{ '{}!'.format(x) }}", "gg.gg." },
        { "{% set y %}<{{ x }}>{% endset %}{{ y }}{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x) }}", ".gg.gg" },
        { "{% for c in x %}{{ c }}.{% endfor %}", "g.g." },
        { "{{ x.split('b')[0] }}{{ ('c' ~ x) | list | join }}", "g.gg" },
        { "{{ x | indent(2, true) }}{{ x.center(4) }}", "..gg" ".gg." },
    };
    json_t *given = json_pack("{s:s}", "x", "ab");
    const gr_jinja_vars vars = { .given = given };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gr_jinja_text text = { 0 };
        gr_jinja *t;
        size_t at = 0;
        CHECK_OK(gr_jinja_compile(&t, "t", c[i].t, strlen(c[i].t), &check_err));
        CHECK_OK(gr_jinja_render(t, &vars, &text, &check_err));
        for (size_t k = 0; k < text.n; k++)
            for (; at < text.run[k].end; at++)
                if (c[i].origin[at] != (text.run[k].given ? 'g' : '.'))
                    fail_msg("%s: byte %zu of [%s]", c[i].t, at, text.text.p);
        assert_int_equal(at, text.text.n);
        assert_int_equal(at, strlen(c[i].origin));
        gr_jinja_text_clear(&text);
        gr_jinja_close(t);
    }
    json_decref(given);
}

static void names_and_dates(void **state)
{
    static const char t[] = "{% set y = enable_thinking %}{{ strftime_now('%d %b %Y %-d %H:%M') }}{{ zz }}";
    gr_jinja *j;
    gram_status rc;
    char *text = render(t, sizeof t - 1, NULL, &rc);
    (void)state;

    assert_string_equal(text, "29 Nov 2026 29 00:00");
    free(text);
    CHECK_OK(gr_jinja_compile(&j, "t", t, sizeof t - 1, &check_err));
    assert_true(gr_jinja_reads(j, "enable_thinking") && gr_jinja_reads(j, "zz") && !gr_jinja_reads(j, "y"));
    assert_true(gr_jinja_calls(j, "strftime_now") && !gr_jinja_calls(j, "zz"));
    gr_jinja_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_python),
        cmocka_unit_test(numbers_at_the_ends),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(deep_templates_are_refused),
        cmocka_unit_test(each_byte_knows_its_origin),
        cmocka_unit_test(names_and_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
