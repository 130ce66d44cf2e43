#include "presplit.h"

/* The passes. Regular expressions as the tokenizers publish them. */
enum {
    BLM_SPLIT_END = 0,
    BLM_SPLIT_GPT2,        /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
                              \s+(?!\S)|\s+ */
    BLM_SPLIT_LLAMA3,      /* (?i:'s|..)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
                              ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
    BLM_SPLIT_QWEN2,       /* the same with single \p{N} */
    BLM_SPLIT_QWEN35,      /* with single \p{N}, and \p{M} among the letters */
    BLM_SPLIT_GPT4O,       /* words also end before an upper-case letter that follows a
                              lower-case one, and take (?i:'s|..)? behind them, not apart;
                              [\r\n/]* behind other characters */
    BLM_SPLIT_TEKKEN,      /* the same without 's, with single \p{N} */
    BLM_SPLIT_NUMBER,      /* \p{N} */
    BLM_SPLIT_NUMBER_3,    /* \p{N}{1,3} */
    BLM_SPLIT_NUMBERS,     /* \p{N}+ */
    BLM_SPLIT_THREE,       /* [0-9][0-9][0-9] */
    BLM_SPLIT_PUNCTUATION, /* [\p{P}\$\+<=>\^~\|]+ */
    BLM_SPLIT_NEWLINE,     /* [\r\n] */
    BLM_SPLIT_LINES,       /* \n+ */
    BLM_SPLIT_CASED,       /* \s?[A-Za-z..]+: letters that have a case, those listed below */
    BLM_SPLIT_MARKS,       /* \s?[!-/:-~ and their full-width forms ..]+ */
    BLM_SPLIT_TRAILING,    /* \s+$ */
    BLM_SPLIT_EASTERN      /* [U+4E00-U+9FA5 U+0800-U+4E00 U+AC00-U+D7FF]+ */
};

static const uint8_t blm_stages_gpt2[] = {BLM_SPLIT_GPT2, 0};
static const uint8_t blm_stages_digits[] = {BLM_SPLIT_NUMBER, BLM_SPLIT_GPT2, 0};
static const uint8_t blm_stages_llama3[] = {BLM_SPLIT_LLAMA3, 0};
static const uint8_t blm_stages_qwen2[] = {BLM_SPLIT_QWEN2, 0};
static const uint8_t blm_stages_qwen35[] = {BLM_SPLIT_QWEN35, 0};
static const uint8_t blm_stages_gpt4o[] = {BLM_SPLIT_GPT4O, 0};
static const uint8_t blm_stages_tekken[] = {BLM_SPLIT_TEKKEN, 0};
static const uint8_t blm_stages_lines[] = {BLM_SPLIT_LINES, 0};
static const uint8_t blm_stages_minicpm5[] = {BLM_SPLIT_NUMBER_3, BLM_SPLIT_LLAMA3, 0};
static const uint8_t blm_stages_default[] = {BLM_SPLIT_PUNCTUATION, BLM_SPLIT_GPT2,
                                             BLM_SPLIT_NUMBERS, BLM_SPLIT_THREE, 0};
static const uint8_t blm_stages_deepseek[] = {BLM_SPLIT_NEWLINE,
                                              BLM_SPLIT_CASED,
                                              BLM_SPLIT_MARKS,
                                              BLM_SPLIT_TRAILING,
                                              BLM_SPLIT_EASTERN,
                                              BLM_SPLIT_NUMBERS,
                                              0};

static const blm_presplit blm_presplit_rules[] = {
    {"default", blm_stages_default, 0, 0},
    {"gpt-2", blm_stages_gpt2, 0, 0},
    {"phi-2", blm_stages_gpt2, 0, 0},
    {"mpt", blm_stages_gpt2, 0, 0},
    {"exaone4", blm_stages_gpt2, 0, 0},
    {"a.x-4.0", blm_stages_gpt2, 0, 0},
    {"mellum", blm_stages_gpt2, 0, 0},
    {"gigachat", blm_stages_gpt2, 0, 0},
    {"olmo", blm_stages_gpt2, 0, 0},
    {"smollm", blm_stages_digits, 0, 0},
    {"starcoder", blm_stages_digits, 0, 0},
    {"refact", blm_stages_digits, 0, 0},
    {"command-r", blm_stages_digits, 0, 0},
    {"codeshell", blm_stages_digits, 0, 0},
    {"llama-bpe", blm_stages_llama3, 1, 1},
    {"llama3", blm_stages_llama3, 1, 1},
    {"llama-v3", blm_stages_llama3, 1, 1},
    {"falcon3", blm_stages_llama3, 1, 1},
    {"falcon-h1", blm_stages_llama3, 1, 1},
    {"midm-2.0", blm_stages_llama3, 1, 1},
    {"pixtral", blm_stages_llama3, 1, 1},
    {"lfm2", blm_stages_llama3, 1, 1},
    {"smaug-bpe", blm_stages_llama3, 0, 0},
    {"dbrx", blm_stages_llama3, 0, 0},
    {"qwen2", blm_stages_qwen2, 0, 0},
    {"deepseek-r1-qwen", blm_stages_qwen2, 0, 0},
    {"stablelm2", blm_stages_qwen2, 0, 0},
    {"deepseek-llm", blm_stages_deepseek, 0, 0},
    {"granite-docling", blm_stages_gpt2, 0, 0},
    {"trillion", blm_stages_gpt2, 0, 0},
    {"exaone", blm_stages_digits, 0, 0},
    {"hunyuan", blm_stages_qwen2, 0, 0},
    {"megrez", blm_stages_qwen2, 0, 0},
    {"kormo", blm_stages_qwen2, 0, 0},
    {"glm4", blm_stages_llama3, 0, 0},
    {"chatglm-bpe", blm_stages_llama3, 0, 0},
    {"qwen35", blm_stages_qwen35, 0, 0},
    {"minicpm5", blm_stages_minicpm5, 0, 0},
    {"gpt-4o", blm_stages_gpt4o, 0, 0},
    {"llama4", blm_stages_gpt4o, 0, 0},
    {"kanana2", blm_stages_gpt4o, 0, 0},
    {"gemma4", blm_stages_lines, 0, 1},
    {"tekken", blm_stages_tekken, 1, 1},
};

/* The letters of deepseek-llm's second expression, [first, last]. */
static const uint32_t blm_cased_letters[][2] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x377},     {0x37b, 0x37d},
    {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},     {0x38c, 0x38c},
    {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},
    {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},
    {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},
    {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},   {0x1f5b, 0x1f5b},
    {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},   {0x213c, 0x213f},
    {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2184},   {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf3},   {0xa640, 0xa66d},
    {0xa680, 0xa69b},   {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},
    {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},
    {0xff41, 0xff5a},   {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb},
    {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};

/* The marks of deepseek-llm's third expression; ':' to '~' takes in the ASCII letters. */
static const uint32_t blm_marks[][2] = {
    {'!', '/'},       {':', '~'},       {0x2018, 0x201f},
    {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e},
};

/* One step of a scan: the character at a place. */
typedef struct blm_step {
    uint32_t character;
    uint32_t kind; /* BLM_CHAR_*, BLM_CHAR_END at the end */
    uint32_t next; /* byte after it                       */
} blm_step;

static blm_step blm_step_at(const char *text, uint32_t at, uint32_t end)
{
    blm_step s = {0, BLM_CHAR_END, at};
    if (at >= end) return s;
    s.next = at + blm_utf8_decode(text + at, end - at, &s.character);
    s.kind = blm_char_class(s.character);
    return s;
}

/* Letters, numbers or, as one kind, everything else that is no space. */
static uint32_t blm_word_kind(uint32_t kind)
{
    return kind == BLM_CHAR_PUNCTUATION || kind == BLM_CHAR_MARK ? BLM_CHAR_OTHER : kind;
}

/* The end of the run of one word kind that begins at `at`. */
static uint32_t blm_skip_kind(const char *text, uint32_t at, uint32_t end, uint32_t kind)
{
    blm_step s = blm_step_at(text, at, end);
    while (s.kind != BLM_CHAR_END && blm_word_kind(s.kind) == kind)
        at = s.next, s = blm_step_at(text, at, end);
    return at;
}

static uint32_t blm_skip_newlines(const char *text, uint32_t at, uint32_t end)
{
    while (at < end && (text[at] == '\r' || text[at] == '\n'))
        at++;
    return at;
}

/* 's 't 'm 'd 're 've 'll at `at`: where it ends, or `at`. */
static uint32_t blm_scan_contraction(const char *text, uint32_t at, uint32_t end, int any_case)
{
    if (text[at] != '\'' || end - at < 2) return at;
    char fold = any_case ? 0x20 : 0;
    char one = (char)(text[at + 1] | fold);
    if (one == 's' || one == 't' || one == 'm' || one == 'd') return at + 2;
    if (end - at < 3) return at;
    char two = (char)(text[at + 2] | fold);
    if ((one == 'r' && two == 'e') || (one == 'v' && two == 'e') || (one == 'l' && two == 'l'))
        return at + 3;
    return at;
}

/* A run of spaces: all of it at the end of the text, else all but its last, which goes
 * with the word behind it. A lone space is itself. */
static uint32_t blm_scan_spaces(const char *text, uint32_t at, uint32_t end)
{
    uint32_t last = at;
    blm_step s = blm_step_at(text, at, end);
    uint32_t next = s.next;
    while ((s = blm_step_at(text, next, end)).kind == BLM_CHAR_SPACE)
        last = next, next = s.next;
    return s.kind == BLM_CHAR_END || last == at ? next : last;
}

static uint32_t blm_scan_gpt2(const char *text, uint32_t at, uint32_t end)
{
    uint32_t contraction = blm_scan_contraction(text, at, end, 0);
    if (contraction > at) return contraction;
    uint32_t word = text[at] == ' ' ? at + 1 : at;
    uint32_t kind = blm_word_kind(blm_step_at(text, word, end).kind);
    if (kind != BLM_CHAR_SPACE && kind != BLM_CHAR_END)
        return blm_skip_kind(text, word, end, kind);
    return blm_scan_spaces(text, at, end);
}

/* The end of the last line break in the run of spaces at `at`, or `at`. */
static uint32_t blm_last_newline(const char *text, uint32_t at, uint32_t end)
{
    uint32_t found = at;
    blm_step s = blm_step_at(text, at, end);
    while (s.kind == BLM_CHAR_SPACE) {
        at = s.next;
        if (s.character == '\r' || s.character == '\n') found = at;
        s = blm_step_at(text, at, end);
    }
    return found;
}

/* A number of at most `digits` digits. */
static uint32_t blm_scan_number(const char *text, uint32_t at, uint32_t end, uint32_t digits)
{
    blm_step s = blm_step_at(text, at, end);
    for (uint32_t i = 0; i < digits && s.kind == BLM_CHAR_NUMBER; i++)
        at = s.next, s = blm_step_at(text, at, end);
    return at;
}

/* How rules of Llama 3's kind differ. */
typedef struct blm_word_rule {
    uint8_t digits;       /* most of a number                                         */
    uint8_t marks;        /* 1: marks count as letters                                */
    uint8_t cased;        /* 1: words end where lower case is followed by upper case  */
    uint8_t contractions; /* 's and the like: BLM_APART, BLM_BEHIND a word, or neither */
} blm_word_rule;

enum { BLM_APART = 1, BLM_BEHIND = 2 };

static const blm_word_rule blm_word_rules[] = {
    [BLM_SPLIT_LLAMA3] = {3, 0, 0, BLM_APART}, [BLM_SPLIT_QWEN2] = {1, 0, 0, BLM_APART},
    [BLM_SPLIT_QWEN35] = {1, 1, 0, BLM_APART}, [BLM_SPLIT_GPT4O] = {3, 0, 1, BLM_BEHIND},
    [BLM_SPLIT_TEKKEN] = {1, 0, 1, 0},
};

static uint32_t blm_rule_kind(const blm_word_rule *rule, uint32_t kind)
{
    return rule->marks && kind == BLM_CHAR_MARK ? BLM_CHAR_LETTER : blm_word_kind(kind);
}

/* The end of the run of one kind, by a rule. */
static uint32_t blm_rule_skip(const blm_word_rule *rule, const char *text, uint32_t at,
                              uint32_t end, uint32_t kind)
{
    blm_step s = blm_step_at(text, at, end);
    while (s.kind != BLM_CHAR_END && blm_rule_kind(rule, s.kind) == kind)
        at = s.next, s = blm_step_at(text, at, end);
    return at;
}

/* The end of a run of letters but those of ASCII in [first, last]: as in llama.cpp, letters
 * beyond ASCII pass for upper and for lower case. */
static uint32_t blm_skip_letters_but(const char *text, uint32_t at, uint32_t end, char first,
                                     char last)
{
    blm_step s = blm_step_at(text, at, end);
    while (s.kind == BLM_CHAR_LETTER && !(text[at] >= first && text[at] <= last))
        at = s.next, s = blm_step_at(text, at, end);
    return at;
}

/* A word of upper case and then lower case; where lower case is missing, of upper case up to
 * its last letter that may be lower case, if it has one. */
static uint32_t blm_scan_cased(const char *text, uint32_t at, uint32_t end)
{
    uint32_t upper = blm_skip_letters_but(text, at, end, 'a', 'z'), last = upper;
    if (blm_step_at(text, upper, end).kind == BLM_CHAR_LETTER)
        return blm_skip_letters_but(text, upper, end, 'A', 'Z');
    while (last > at && text[last - 1] >= 'A' && text[last - 1] <= 'Z')
        last--;
    return last > at ? last : upper;
}

/* The end of the word of letters at `at`. */
static uint32_t blm_scan_letters(const blm_word_rule *rule, const char *text, uint32_t at,
                                 uint32_t end)
{
    at = rule->cased ? blm_scan_cased(text, at, end)
                     : blm_rule_skip(rule, text, at, end, BLM_CHAR_LETTER);
    if (rule->contractions != BLM_BEHIND || at >= end) return at;
    return blm_scan_contraction(text, at, end, 1);
}

/* The end of other characters and of the line breaks behind them. */
static uint32_t blm_scan_others(const blm_word_rule *rule, const char *text, uint32_t at,
                                uint32_t end)
{
    uint32_t found = blm_rule_skip(rule, text, at, end, BLM_CHAR_OTHER);
    if (found == at) return at;
    do {
        at = found;
        found = blm_skip_newlines(text, at, end);
        while (rule->cased && found < end && text[found] == '/')
            found++;
    } while (found > at);
    return found;
}

static uint32_t blm_scan_words(const blm_word_rule *rule, const char *text, uint32_t at,
                               uint32_t end)
{
    uint32_t found = at;
    if (rule->contractions == BLM_APART) found = blm_scan_contraction(text, at, end, 1);
    if (found > at) return found;
    blm_step s = blm_step_at(text, at, end);
    if (s.kind == BLM_CHAR_NUMBER) return blm_scan_number(text, at, end, rule->digits);
    int newline = s.character == '\r' || s.character == '\n';
    if (blm_rule_kind(rule, s.kind) == BLM_CHAR_LETTER)
        return blm_scan_letters(rule, text, at, end);
    if (!newline && blm_rule_kind(rule, blm_step_at(text, s.next, end).kind) == BLM_CHAR_LETTER)
        return blm_scan_letters(rule, text, s.next, end);
    uint32_t word = text[at] == ' ' ? at + 1 : at;
    found = blm_scan_others(rule, text, word, end);
    if (found > word) return found;
    found = blm_last_newline(text, at, end);
    return found > at ? found : blm_scan_spaces(text, at, end);
}

static int blm_in_ranges(uint32_t c, const uint32_t (*ranges)[2], uint32_t count)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (c > ranges[middle][1])
            low = middle + 1;
        else if (c < ranges[middle][0])
            high = middle;
        else
            return 1;
    }
    return 0;
}

/* Whether a character belongs to a pass that matches runs of a set. */
static int blm_in_set(uint32_t stage, const blm_step *s)
{
    uint32_t c = s->character;
    if (s->kind == BLM_CHAR_END) return 0;
    switch (stage) {
    case BLM_SPLIT_CASED:
        return blm_in_ranges(c, blm_cased_letters, BLM_COUNT_OF(blm_cased_letters));
    case BLM_SPLIT_MARKS:
        return blm_in_ranges(c, blm_marks, BLM_COUNT_OF(blm_marks));
    case BLM_SPLIT_EASTERN:
        return (c >= 0x800 && c <= 0x9fa5) || (c >= 0xac00 && c <= 0xd7ff);
    case BLM_SPLIT_NUMBERS:
        return s->kind == BLM_CHAR_NUMBER;
    default:
        return s->kind == BLM_CHAR_PUNCTUATION || c == '$' || c == '+' || c == '^' ||
               c == '~' || c == '|' || (c >= '<' && c <= '>');
    }
}

/* The end of the run of a pass's set at `at`. */
static uint32_t blm_scan_set(uint32_t stage, const char *text, uint32_t at, uint32_t end)
{
    blm_step s = blm_step_at(text, at, end);
    while (blm_in_set(stage, &s))
        at = s.next, s = blm_step_at(text, at, end);
    return at;
}

/* The same with one space before it, where there is one. */
static uint32_t blm_scan_spaced_set(uint32_t stage, const char *text, uint32_t at, uint32_t end)
{
    blm_step s = blm_step_at(text, at, end);
    if (s.kind == BLM_CHAR_SPACE) {
        uint32_t found = blm_scan_set(stage, text, s.next, end);
        if (found > s.next) return found;
    }
    return blm_scan_set(stage, text, at, end);
}

static uint32_t blm_scan_three(const char *text, uint32_t at, uint32_t end)
{
    if (end - at < 3) return at;
    for (uint32_t i = at; i < at + 3; i++)
        if (text[i] < '0' || text[i] > '9') return at;
    return at + 3;
}

/* Where a pass's match at `at` ends; `at` when there is none. */
static uint32_t blm_scan(uint32_t stage, const char *text, uint32_t at, uint32_t end)
{
    switch (stage) {
    case BLM_SPLIT_GPT2:
        return blm_scan_gpt2(text, at, end);
    case BLM_SPLIT_LLAMA3:
    case BLM_SPLIT_QWEN2:
    case BLM_SPLIT_QWEN35:
    case BLM_SPLIT_GPT4O:
    case BLM_SPLIT_TEKKEN:
        return blm_scan_words(&blm_word_rules[stage], text, at, end);
    case BLM_SPLIT_NUMBER:
        return blm_scan_number(text, at, end, 1);
    case BLM_SPLIT_NUMBER_3:
        return blm_scan_number(text, at, end, 3);
    case BLM_SPLIT_THREE:
        return blm_scan_three(text, at, end);
    case BLM_SPLIT_NEWLINE:
        return at + (text[at] == '\r' || text[at] == '\n');
    case BLM_SPLIT_LINES:
        while (at < end && text[at] == '\n')
            at++;
        return at;
    case BLM_SPLIT_CASED:
    case BLM_SPLIT_MARKS:
        return blm_scan_spaced_set(stage, text, at, end);
    default:
        return blm_scan_set(stage, text, at, end);
    }
}

static void blm_mark_start(uint8_t *starts, uint32_t at)
{
    starts[at / 8] = (uint8_t)(starts[at / 8] | 1u << (at % 8));
}

/* Cuts off the spaces at the end of a word. */
static void blm_split_trailing(const char *text, uint32_t at, uint32_t end, uint8_t *starts)
{
    uint32_t spaces = at;
    while (at < end) {
        blm_step s = blm_step_at(text, at, end);
        at = s.next;
        if (s.kind != BLM_CHAR_SPACE) spaces = at;
    }
    if (spaces < end) blm_mark_start(starts, spaces);
}

/* Cuts one word by one pass: matches become words, and what lies between them. */
static void blm_split_word(uint32_t stage, const char *text, uint32_t at, uint32_t end,
                           uint8_t *starts)
{
    if (stage == BLM_SPLIT_TRAILING) {
        blm_split_trailing(text, at, end, starts);
        return;
    }
    while (at < end) {
        uint32_t found = blm_scan(stage, text, at, end);
        if (found > at) {
            blm_mark_start(starts, at);
            if (found < end) blm_mark_start(starts, found);
            at = found;
        } else {
            at = blm_step_at(text, at, end).next;
        }
    }
}

BLM_PRIVATE uint32_t blm_presplit_next(const uint8_t *starts, uint32_t at, uint32_t bytes)
{
    while (at < bytes && !(starts[at / 8] >> (at % 8) & 1)) {
        int none_left = starts[at / 8] >> (at % 8) == 0;
        at = none_left ? (at / 8 + 1) * 8 : at + 1;
    }
    return BLM_MIN(at, bytes);
}

BLM_PRIVATE void blm_presplit_run(const blm_presplit *rule, const char *text, uint32_t bytes,
                                  uint8_t *starts)
{
    memset(starts, 0, bytes / 8 + 1);
    blm_mark_start(starts, 0);
    for (const uint8_t *stage = rule->stages; *stage != BLM_SPLIT_END; stage++) {
        uint32_t at = 0;
        while (at < bytes) {
            uint32_t end = blm_presplit_next(starts, at + 1, bytes);
            blm_split_word(*stage, text, at, end, starts);
            at = end;
        }
    }
}

BLM_PRIVATE const blm_presplit *blm_presplit_find(const char *name, uint64_t bytes)
{
    for (size_t i = 0; i < BLM_COUNT_OF(blm_presplit_rules); i++) {
        const char *known = blm_presplit_rules[i].name;
        size_t n = 0;
        while (n < bytes && known[n] != 0 && known[n] == name[n])
            n++;
        if (n == bytes && known[n] == 0) return &blm_presplit_rules[i];
    }
    return NULL;
}

BLM_PRIVATE int blm_presplit_marked(const blm_presplit *rule)
{
    return rule->stages == blm_stages_lines;
}
