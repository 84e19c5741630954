/* err.c - see err.h. */
#include <stdio.h>
#include <string.h>
#include "base/err.h"

gram_status gr_fail(gram_err *err, gram_status status, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    if (!err)
        return status;
    err->status = status;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    n = strlen(err->text);
    if (n == sizeof err->text - 1) {            /* cut: do not leave half a character */
        while (n > 0 && ((unsigned char)err->text[n - 1] & 0xc0) == 0x80)
            n--;
        if (n > 0 && (unsigned char)err->text[n - 1] >= 0xc0)
            n--;
        err->text[n] = '\0';
    }
    for (char *p = err->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return status;
}

gram_status gr_nomem(gram_err *err, const char *what)
{
    return gr_fail(err, GRAM_ENOMEM, "%s: out of memory", what);
}

const char *gram_status_name(gram_status status)
{
    switch (status) {
    case GRAM_OK:           return "ok";
    case GRAM_EARG:         return "bad argument";
    case GRAM_ENOMEM:       return "out of memory";
    case GRAM_EIO:          return "input/output error";
    case GRAM_EFORMAT:      return "bad format";
    case GRAM_EUNSUPPORTED: return "unsupported";
    case GRAM_ELIMIT:       return "over a limit";
    case GRAM_ESTOPPED:     return "stopped";
    case GRAM_EBUSY:        return "busy";
    }
    return "unknown status";
}
