package cluster

// Layout is where the installation has its shared files and its libraries.
func (b *Binaries) Layout() (share, pkglib string) { return b.share, b.pkglib }
