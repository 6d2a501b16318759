package fetcher

import "container/list"

// lru is a map that forgets what was used longest ago. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	max   int
	gone  func(V) // called for every value that leaves
	order *list.List
	at    map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](maxItems int, gone func(V)) *lru[K, V] {
	return &lru[K, V]{max: maxItems, gone: gone, order: list.New(), at: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e, ok := l.at[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(lruItem[K, V]).value, true
}

// put sets key's value, in place of another or of the one used longest ago.
func (l *lru[K, V]) put(key K, value V) {
	l.remove(key)
	l.at[key] = l.order.PushFront(lruItem[K, V]{key, value})
	if l.order.Len() > l.max {
		l.remove(l.order.Back().Value.(lruItem[K, V]).key)
	}
}

func (l *lru[K, V]) remove(key K) {
	if e, ok := l.at[key]; ok {
		delete(l.at, key)
		l.gone(l.order.Remove(e).(lruItem[K, V]).value)
	}
}

func (l *lru[K, V]) clear() {
	for key := range l.at {
		l.remove(key)
	}
}
