def page_numbers(count):
    return range(1, count + 1)
