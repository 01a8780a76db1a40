package secret

type Value []byte
