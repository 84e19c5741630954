/* sniff.c - what a file is that was taken for lines of text, told by its first bytes. */
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "base/utf8.h"
#include "file/file_int.h"

#define READS "FILE | gram ... -` reads it"
#define TO_JSON ".to_json(\"rows.jsonl\", orient=\"records\", lines=True) makes JSON Lines of it"

static const struct { const char *magic; size_t n, at; const char *what; } known[] = {
    { "version https://git-lfs", 23, 0, "a Git LFS pointer, not the file itself: `git lfs pull` in the repository "
      "fetches it" },
    { "PAR1", 4, 0, "a Parquet file that was compressed once more: `zcat " READS " (or zstdcat)" },
    { "ARROW1", 6, 0, "an Arrow file that was compressed once more: `zcat " READS " (or zstdcat)" },
    { "\xff\xff\xff\xff", 4, 0, "an Arrow stream that was compressed once more: `zcat " READS " (or zstdcat)" },
    { "FEA1", 4, 0, "a Feather file of version 1: pandas.read_feather(FILE)" TO_JSON },
    { "ORC", 3, 0, "an ORC file: pandas.read_orc(FILE)" TO_JSON },
    { "Obj\x01", 4, 0, "an Avro file: wanted JSON Lines" },
    { "\x28\xb5\x2f\xfd", 4, 0, "compressed with zstd twice: `zstdcat " READS },
    { "\xfd" "7zXZ", 5, 0, "compressed with xz: `xzcat " READS },
    { "\x1f\x8b", 2, 0, "compressed with gzip twice: `zcat " READS },
    { "BZh", 3, 0, "compressed with bzip2: `bzcat " READS },
    { "\x04\x22\x4d\x18", 4, 0, "compressed with lz4: `lz4cat " READS },
    { "PK\x03\x04", 4, 0, "a zip file: `unzip -p FILE NAME | gram ... -` reads a file of it" },
    { "7z\xbc\xaf", 4, 0, "a 7z file: wanted JSON Lines" },
    { "ustar", 5, 257, "a tar file: `tar -xOf FILE NAME | gram ... -` reads a file of it" },
    { "SQLite format 3", 15, 0, "an SQLite database: wanted JSON Lines" },
    { "%PDF-", 5, 0, "a PDF file: wanted JSON Lines" },
    { "\x89HDF", 4, 0, "an HDF5 file: wanted JSON Lines" },
    { "GGUF", 4, 0, "a GGUF model, not rows" },
    { "\xff\xfe\x00\x00", 4, 0, "text in UTF-32: `iconv -f UTF-32 -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "\xff\xfe", 2, 0, "text in UTF-16: `iconv -f UTF-16 -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "\xfe\xff", 2, 0, "text in UTF-16: `iconv -f UTF-16 -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "{\0", 2, 0, "text in UTF-16: `iconv -f UTF-16LE -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "[\0", 2, 0, "text in UTF-16: `iconv -f UTF-16LE -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "\0{", 2, 0, "text in UTF-16: `iconv -f UTF-16BE -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "\0[", 2, 0, "text in UTF-16: `iconv -f UTF-16BE -t UTF-8 FILE >NEW` makes UTF-8 of it" },
    { "\x80\x02", 2, 0, "a Python pickle: wanted JSON Lines" },
    { "\x80\x03", 2, 0, "a Python pickle: wanted JSON Lines" },
    { "\x80\x04", 2, 0, "a Python pickle: wanted JSON Lines" },
    { "\x80\x05", 2, 0, "a Python pickle: wanted JSON Lines" },
};

/* A page that a server sent instead of the file: a login, an error. */
static bool is_html(const char *p, size_t n)
{
    static const char *const begin[] = { "<!doctype html", "<html", "<head", "<?xml" };

    size_t mark = gr_utf8_mark(p, n);

    p += mark;
    n -= mark;
    while (n && strchr(" \t\r\n", *p) && *p) {
        p++;
        n--;
    }
    for (size_t i = 0; i < GR_COUNT(begin); i++)
        if (n >= strlen(begin[i]) && !strncasecmp(p, begin[i], strlen(begin[i])))
            return true;
    return false;
}

const char *gr_sniff(const void *p, size_t n)
{
    const char *s = p;

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (n >= known[i].at + known[i].n && !memcmp(s + known[i].at, known[i].magic, known[i].n))
            return known[i].what;
    return is_html(s, n) ? "a page of HTML or XML, such as a server sends instead of a file that it does not give: "
                           "fetch the file itself" : NULL;
}
